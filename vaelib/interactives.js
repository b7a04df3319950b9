// The elements of vaelib.interactives: <latent-explorer>, <variance-dial>, <alpha-slider>. No library, no request.
(() => {
  if (customElements.get("latent-explorer")) return; // a page may hold several, each with this script

  const STYLE = `
    :host { display: block; margin: 1.5rem 0; padding: 0.75rem 1rem; border: 1px solid currentColor; border-radius: 6px;
      max-width: 46rem; font-size: 0.95em; }
    @media print { :host { display: none; } }
    .row { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; align-items: flex-start; }
    .row > div { flex: 0 1 auto; min-width: 0; max-width: 100%; }
    fieldset { border: 0; margin: 0 0 0.75rem; padding: 0; display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; }
    legend { padding: 0; font-weight: 600; }
    label { display: inline-flex; gap: 0.4rem; align-items: center; min-height: 1.75rem; }
    label.wide { display: flex; max-width: 26rem; }
    label.wide input { flex: 1; min-width: 4rem; }
    input[type="range"] { min-height: 1.75rem; }
    input { accent-color: #3f90da; cursor: pointer; }
    :focus-visible { outline: 2px solid #3f90da; outline-offset: 2px; }
    canvas { display: block; max-width: 100%; height: auto; }
    canvas[data-input] { cursor: crosshair; touch-action: none; }
    canvas[data-picture] { image-rendering: pixelated; background: black; }
    p { margin: 0.4rem 0; }
    .caption { margin-top: 0.75rem; }
    output { font-variant-numeric: tabular-nums; }
    strong { font-weight: 600; }
    table { border-collapse: collapse; }
    th, td { padding: 0.1rem 0.9rem 0.1rem 0; text-align: left; font-weight: 400; vertical-align: top; }
    td { font-variant-numeric: tabular-nums; }
    .bars + table { margin: 0.3rem 0; }
    .bars { position: relative; height: 1.5rem; width: 18rem; max-width: 100%; display: flex; overflow: hidden;
      border: 1px solid currentColor; }
    .bars i { display: block; height: 100%; flex: none; }
    .bars i:nth-child(1) { background: #3f90da; }
    .bars i:nth-child(2) { background: repeating-linear-gradient(45deg, #ffa90e 0 5px, #a96b00 5px 7px); }
    .bars b { position: absolute; top: 0; bottom: 0; left: 66.7%; border-left: 2px dashed currentColor; }
    .bars.cut::after { content: "\\25b8"; position: absolute; right: 0; top: 0; bottom: 0; width: 1.4em; background: white;
      color: black; text-align: center; line-height: 1.5rem; }`;

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  /** The matrix of vaelib.interactives.pack: {rows, columns, values}, row by row. */
  function unpack({ shape: [rows, columns], scales, planes }) {
    const scale = new Float32Array(bytes(scales).buffer);
    const plane = bytes(planes);
    const n = rows * columns;
    const values = new Float32Array(n);
    for (let i = 0; i < n; i++) {
      const integer = ((plane[i] | (plane[n + i] << 8)) << 16) >> 16;
      values[i] = integer * scale[Math.floor(i / columns)];
    }
    return { rows, columns, values };
  }

  const sigmoid = (x) => 1 / (1 + Math.exp(-x));

  /** mu_x(z) of vaelib.interactives.PackedDecoder, as a function of z. */
  function decoder({ hidden, inner, outer }) {
    const [A, M, U] = [hidden, inner, outer].map(unpack);
    return ([z1, z2]) => {
      const h = new Float32Array(A.rows);
      for (let i = 0; i < A.rows; i++) {
        h[i] = Math.max(A.values[3 * i] * z1 + A.values[3 * i + 1] * z2 + A.values[3 * i + 2], 0);
      }
      const code = new Float32Array(M.rows);
      for (let r = 0; r < M.rows; r++) {
        let sum = 0;
        for (let i = 0; i < M.columns; i++) sum += M.values[r * M.columns + i] * h[i];
        code[r] = sum;
      }
      const picture = new Float32Array(U.rows);
      for (let j = 0; j < U.rows; j++) {
        let sum = U.values[j * U.columns + M.rows];
        for (let r = 0; r < M.rows; r++) sum += U.values[j * U.columns + r] * code[r];
        picture[j] = sigmoid(sum);
      }
      return picture;
    };
  }

  /** n draws of N(0, 1), the same at each call (mulberry32, Box and Muller). */
  function normals(n) {
    let state = 1;
    const uniform = () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    return Float32Array.from({ length: n }, () =>
      Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
  }

  /** Grey pictures of a shape, values in [0, 1] and cut to it, in rows of `columns` with a line between them. */
  function tile(canvas, values, [height, width], columns) {
    const m = height * width;
    const n = values.length / m;
    canvas.width = columns * (width + 1) - 1;
    canvas.height = Math.ceil(n / columns) * (height + 1) - 1;
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height);
    new Uint32Array(image.data.buffer).fill(0xff909090);
    for (let k = 0; k < n; k++) {
      const left = (k % columns) * (width + 1);
      const top = Math.floor(k / columns) * (height + 1);
      for (let j = 0; j < m; j++) {
        const grey = Math.round(255 * Math.min(Math.max(values[k * m + j], 0), 1));
        const place = 4 * ((top + Math.floor(j / width)) * canvas.width + left + (j % width));
        image.data[place] = image.data[place + 1] = image.data[place + 2] = grey;
      }
    }
    context.putImageData(image, 0, 0);
  }

  /** Codes coloured by label, each label written at the median of its codes; dotted circles hold shares of N(0, I). */
  function plane(canvas, { codes, limit }, { labels, colours, radii }, ink, names, pointer) {
    const density = 2;
    const size = 300;
    canvas.width = canvas.height = size * density;
    const context = canvas.getContext("2d");
    context.scale(density, density);
    const margin = 26;
    const span = size - margin - 4;
    const x = (z) => margin + ((z + limit) / (2 * limit)) * span;
    const y = (z) => 4 + ((limit - z) / (2 * limit)) * span;
    Object.assign(canvas, { toPlane: (px, py) => [((px * size - margin) / span) * 2 * limit - limit,
      limit - ((py * size - 4) / span) * 2 * limit] });
    context.clearRect(0, 0, size, size);
    context.strokeStyle = context.fillStyle = ink;
    context.lineWidth = 1;
    context.strokeRect(margin, 4, span, span);
    context.font = "11px sans-serif";
    const tick = [1, 2, 5, 10, 20, 50, 100, 200].find((t) => limit / t < 5) ?? limit;
    context.textAlign = "center";
    for (let t = -Math.floor(limit / tick) * tick; t <= limit; t += tick) {
      context.textBaseline = "top";
      context.fillText(String(t).replace("-", "\u2212"), x(t), size - margin + 8);
      context.save();
      context.translate(margin - 12, y(t));
      context.rotate(-Math.PI / 2);
      context.textBaseline = "middle";
      context.fillText(String(t).replace("-", "\u2212"), 0, 0);
      context.restore();
    }
    context.save();
    context.beginPath();
    context.rect(margin, 4, span, span);
    context.clip();
    const n = codes.columns;
    const [first, second] = [codes.values.subarray(0, n), codes.values.subarray(n)];
    context.globalAlpha = 0.75;
    for (let i = 0; i < n; i++) {
      context.fillStyle = colours[labels[i]] ?? "#3f90da"; // that of all where there are no labels
      context.beginPath();
      context.arc(x(first[i]), y(second[i]), 2, 0, 7);
      context.fill();
    }
    context.globalAlpha = 1;
    context.setLineDash([2, 3]);
    for (const radius of radii) {
      context.beginPath();
      context.arc(x(0), y(0), (radius / (2 * limit)) * span, 0, 7);
      context.stroke();
    }
    context.setLineDash([]);
    context.font = "bold 12px sans-serif";
    context.textBaseline = "middle";
    const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
    for (const label of new Set(labels)) {
      const own = Array.from({ length: n }, (_, i) => i).filter((i) => labels[i] === label);
      const [cx, cy] = [x(median(own.map((i) => first[i]))), y(median(own.map((i) => second[i])))];
      context.beginPath();
      context.arc(cx, cy, Math.max(9, 4 + context.measureText(label).width / 2), 0, 7);
      context.fillStyle = "white";
      context.fill();
      context.strokeStyle = colours[label];
      context.stroke();
      context.fillStyle = "black";
      context.fillText(String(label), cx, cy + 1);
    }
    if (pointer) {
      for (const [style, width] of [["white", 5], ["black", 2.5]]) {
        context.strokeStyle = style;
        context.lineWidth = width;
        context.beginPath();
        context.arc(x(pointer[0]), y(pointer[1]), 7, 0, 7);
        context.moveTo(x(pointer[0]) - 12, y(pointer[1]));
        context.lineTo(x(pointer[0]) + 12, y(pointer[1]));
        context.moveTo(x(pointer[0]), y(pointer[1]) - 12);
        context.lineTo(x(pointer[0]), y(pointer[1]) + 12);
        context.stroke();
      }
    }
    context.restore();
    canvas.setAttribute("aria-label", names);
  }

  const number = (value, digits = 2) => value.toFixed(digits).replace("-", "\u2212");
  const share = (value) => `${number(100 * value, value < 0.1 && value > 0 ? 1 : 0)} %`;

  const masses = (values) => values.map(share).join(" and ").replaceAll(" %", "&nbsp;%");

  class Interactive extends HTMLElement {
    connectedCallback() {
      if (this.shadowRoot) return;
      // Children are not there yet when the parser meets the element after the script of an earlier one.
      if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => this.start());
      else this.start();
    }

    start() {
      this.data = JSON.parse(this.querySelector("script").textContent);
      const root = this.attachShadow({ mode: "open" });
      root.innerHTML = `<style>${STYLE}</style>${this.markup()}`;
      this.find = (name) => root.querySelector(`[data-name="${name}"]`);
      this.prepare();
      root.addEventListener("input", () => this.draw());
      new MutationObserver(() => this.draw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
      this.draw();
    }

    get ink() {
      return getComputedStyle(this).color;
    }

    /** Words about labels, where there are any. */
    byLabel(words) {
      return this.data.labels.length ? words : "";
    }

    radios(name, legend, labels) {
      const buttons = labels.map((label, i) =>
        `<label><input type="radio" name="${name}" value="${i}"${i ? "" : " checked"}><span>${label}</span></label>`);
      return `<fieldset><legend>${legend}</legend>${buttons.join("")}</fieldset>`;
    }

    chosen(name) {
      return Number(this.shadowRoot.querySelector(`input[name="${name}"]:checked`).value);
    }
  }

  class LatentExplorer extends Interactive {
    markup() {
      return `${this.radios("model", "Model", this.data.models.map((m) => m.label))}
        <div class="row">
          <div><canvas data-input data-name="plane" role="img" style="width: 300px"></canvas></div>
          <div>
            <canvas data-picture data-name="picture" role="img" aria-label="The decoded mean image" style="width: 196px"
            ></canvas>
            <p><output data-name="text" aria-live="polite"></output></p>
          </div>
        </div>
        <label class="wide"><span>z<sub>1</sub></span> <input type="range" data-name="z1" step="any" aria-label="first coordinate of
          the code"></label>
        <label class="wide"><span>z<sub>2</sub></span> <input type="range" data-name="z2" step="any" aria-label="second coordinate of
          the code"></label>
        <p class="caption"><strong>Explore the codes.</strong> Point at the plane, or move the two sliders: the mean
        image &mu;<sub>x</sub>(z) of the code z is decoded as you go. A click keeps the code, also for another model. Dots are codes of test images, z drawn from
        q(z&nbsp;|&nbsp;x)${this.byLabel(", coloured by label")}; the dotted circles hold ${masses(this.data.mass)} of the prior.
        <span data-name="error"></span></p>`;
    }

    prepare() {
      this.models = this.data.models.map((m) => ({ ...m, codes: unpack(m.codes), decode: decoder(m.decoder) }));
      const canvas = this.find("plane");
      this.z = this.kept = [0, 0];
      const at = (event) => {
        const box = canvas.getBoundingClientRect();
        return canvas.toPlane((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
      };
      const move = (z) => {
        this.z = z;
        this.draw();
      };
      canvas.addEventListener("pointermove", (event) => move(at(event)));
      canvas.addEventListener("pointerdown", (event) => move(this.kept = at(event)));
      canvas.addEventListener("pointerleave", () => move(this.kept));
      for (const name of ["z1", "z2"]) {
        this.find(name).addEventListener("input", () => {
          this.z = this.kept = [Number(this.find("z1").value), Number(this.find("z2").value)];
        });
      }
    }

    draw() {
      const model = this.models[this.chosen("model")];
      const z = this.z.map((part) => Math.min(Math.max(part, -model.limit), model.limit));
      ["z1", "z2"].forEach((name, i) => {
        const slider = this.find(name);
        Object.assign(slider, { min: -model.limit, max: model.limit, step: model.limit / 100 });
        slider.value = z[i];
        slider.setAttribute("aria-valuetext", number(z[i]));
      });
      tile(this.find("picture"), model.decode(z), this.data.shape, 1);
      plane(this.find("plane"), model, this.data, this.ink, `Codes of test images${this.byLabel(" by label")}, ${model.label}`, z);
      const mass = 1 - Math.exp(-(z[0] ** 2 + z[1] ** 2) / 2);
      const nearer = mass > 0.9995 ? "more than 99.9 %" : share(mass);
      this.find("text").textContent = `z = (${number(z[0])}, ${number(z[1])}); ${nearer} of the prior is nearer to 0`;
      const { mean, largest, codes } = model.error;
      this.find("error").textContent = `The decoder is rounded to fit the page: at ${codes} codes of this window a pixel `
        + `is off by ${number(mean)} of 255 grey levels on average, by ${number(largest, 1)} at most.`;
    }
  }

  class VarianceDial extends Interactive {
    markup() {
      const { settings, dimensions } = this.data;
      const bar = (name, title) => `<tr><th scope="row">${title}</th><td data-name="${name}-explained"></td>
        <td data-name="${name}-noise"></td><td data-name="${name}-total"></td></tr>
        <tr><td colspan="4"><div class="bars" data-name="${name}-bar" aria-hidden="true"><i></i><i></i><b></b></div></td></tr>`;
      return `${this.radios("reading", "Read the setting as",
        ["a deviation &sigma;<sub>x</sub> = &radic;&beta;, with weight 1", "a weight &beta;, with &sigma;<sub>x</sub> = 1"])}
        <label class="wide">autoencoder <input type="range" data-name="dial" min="0" max="${settings.length - 1}" step="1"
          value="${settings.findIndex((s) => s.beta >= 0.01)}" aria-label="setting of the dial, from autoencoder to
          collapse"> collapse</label>
        <p><output data-name="text" aria-live="polite"></output></p>
        <div class="row">
          <div>
            <canvas data-name="plane" role="img" style="width: 300px"></canvas>
            <p style="max-width: 300px" data-name="spread"></p>
          </div>
          <div>
            <p>Test images, and their reconstructions</p>
            <canvas data-picture data-name="reconstructions" role="img" style="width: 320px"
              aria-label="Test images above their reconstructions"></canvas>
            <p>Deterministic samples</p>
            <canvas data-picture data-name="means" role="img" style="width: 320px"
              aria-label="Mean images of codes from the prior"></canvas>
            <p>Ancestral samples</p>
            <canvas data-picture data-name="samples" role="img" style="width: 320px"
              aria-label="The same mean images with the noise of the observation"></canvas>
          </div>
        </div>
        <table>
          <tr><th>variance, over that of the images</th><th scope="col">explained by the code</th><th scope="col">noise</th>
            <th scope="col">total</th></tr>
          ${bar("posterior", "at codes of test images")}
          ${bar("prior", "at codes from the prior")}
        </table>
        <p class="caption"><strong>Turn the dial.</strong> ${settings.length} models with d&nbsp;=&nbsp;${dimensions}, from a plain autoencoder to
        collapse. Both readings show the same networks, since the two objectives have the same maxima; what differs is the
        noise that the model claims. The plane is that of the two main axes of the codes of test images; its circles hold
        ${masses(this.data.mass)} of the prior as seen along two axes. The samples share their codes z throughout, and
        values outside [0,&nbsp;1] are cut. In the bars blue is explained and hatched is noise; the dashed line is the
        variance of the test images, and a bar with an arrow goes on. A bar that ends at the line has the right total,
        which does not make its parts right.</p>`;
    }

    prepare() {
      const grey = (text) => Float32Array.from(bytes(text), (level) => level / 255);
      const examples = grey(this.data.examples);
      this.settings = this.data.settings.map((s) => ({
        ...s, codes: unpack(s.codes), means: grey(s.means),
        reconstructions: Float32Array.of(...examples, ...grey(s.reconstructions)),
      }));
      this.examples = examples.length / (this.data.shape[0] * this.data.shape[1]);
      this.noise = normals(this.settings[0].means.length);
    }

    draw() {
      const setting = this.settings[Number(this.find("dial").value)];
      const asWeight = this.chosen("reading") === 1;
      const { beta } = setting;
      const sigma = beta === null || (beta === 0 && !asWeight) ? null : asWeight ? 1 : Math.sqrt(beta);
      const noise = sigma === null ? 0 : this.data.noise * sigma ** 2;
      const { shape } = this.data;
      const samples = setting.means.map((mu, i) => mu + (sigma ?? 0) * this.noise[i]);
      tile(this.find("reconstructions"), setting.reconstructions, shape, this.examples);
      tile(this.find("means"), setting.means, shape, 10);
      tile(this.find("samples"), samples, shape, 10);
      this.find("samples").style.opacity = sigma === null ? 0.25 : 1;
      const reading = beta === null ? "A plain autoencoder: no likelihood, so there is nothing to draw x from"
        : sigma === null ? "The limit \u03c3\u2093 \u2192 0: no density is left to draw x from"
        : asWeight ? `\u03b2 = ${beta}, \u03c3\u2093 = 1` : `\u03c3\u2093 = ${Number(sigma.toPrecision(2))}, weight 1`;
      const text = `${reading}. ${setting.note}`;
      this.find("text").textContent = text;
      this.find("dial").setAttribute("aria-valuetext", text);
      plane(this.find("plane"), setting, this.data, this.ink, `Codes of test images${this.byLabel(" by label")}. ${reading}`);
      this.find("spread").textContent = `The plane holds ${share(setting.shown)} of the variance of the codes. `
        + `${share(setting.inside)} of them lie in the ball that holds ${share(this.data.mass.at(-1))} of the prior, all `
        + `${this.data.dimensions} dimensions counted.`;
      ["posterior", "prior"].forEach((name, i) => {
        const explained = setting.explained[i];
        this.find(`${name}-explained`).textContent = share(explained);
        this.find(`${name}-noise`).textContent = sigma === null ? "none" : share(noise);
        this.find(`${name}-total`).textContent = share(explained + noise);
        const bar = this.find(`${name}-bar`); // 100 % of its width are 150 % of the variance
        bar.classList.toggle("cut", explained + noise > 1.5);
        [explained, noise].forEach((part, j) => { bar.children[j].style.width = `${(100 / 1.5) * Math.min(part, 1.5)}%`; });
      });
    }
  }

  class AlphaSlider extends Interactive {
    markup() {
      return `<label class="wide">&alpha; <input type="range" data-name="alpha" min="-3" max="3" step="0.1" value="0"
          aria-label="alpha"></label>
        <p><output data-name="text" aria-live="polite"></output></p>
        <canvas data-picture data-name="picture" role="img" style="width: 320px"
          aria-label="Images, each pixel at the same quantile of its distribution"></canvas>
        <p class="caption"><strong>Move every pixel at once.</strong> &mu;<sub>x</sub>(z) +
        &alpha;&nbsp;&sigma;<sub>x</sub>(z) for ${this.data.means.shape[0]} codes z from the prior; values outside [0,&nbsp;1] are cut.</p>`;
    }

    prepare() {
      [this.means, this.deviations] = [this.data.means, this.data.deviations].map((packed) => unpack(packed).values);
    }

    draw() {
      const alpha = Number(this.find("alpha").value);
      tile(this.find("picture"), this.means.map((mu, i) => mu + alpha * this.deviations[i]), this.data.shape, 4);
      this.find("text").textContent = `\u03b1 = ${number(alpha, 1)}`;
    }
  }

  customElements.define("latent-explorer", LatentExplorer);
  customElements.define("variance-dial", VarianceDial);
  customElements.define("alpha-slider", AlphaSlider);
})();
