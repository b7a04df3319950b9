r"""What can be moved answers the mouse, the finger and the keyboard: the picture is another one, and at once.

An interactive is an element of class `vae-interactive`. In it, or in its open shadow root, canvases with `data-picture`
are what is shown, a canvas with `data-input` is what the pointer moves over, and controls are native ones.
"""

import json
from collections.abc import Sequence
from statistics import median

import pytest
import torch
from playwright.sync_api import Browser, Locator
from visits import PAGES, PHONE, SITE, Visit, opened

from vaelib.interactives import Interactive, PackedDecoder, pack, unpack

#: Pages and elements that a complete build has.
EXPECTED = (
    ("book/5_3_solutions.html", "alpha-slider"),
    ("book/5_3_solutions.html", "variance-dial"),
    ("book/5_4_issues.html", "latent-explorer"),
)
#: What the page of an interactive holds.
MARK = "vae-interactive"
with_interactives = pytest.mark.parametrize(
    "visit", [name for name in PAGES if MARK in (SITE / name).read_text()], indirect=True
)
#: Milliseconds from an input to the frame that shows its picture, the median of several.
AT_ONCE = 50.0
TIMES = 15
#: The machine may be busy with something else for a while, but not each time.
ROUNDS = 3

#: Sends `TIMES` events to a target and measures each until its frame is out.
STOPWATCH = """async (target, {times, send}) => {
    const act = new Function("target", "step", "times", send);
    const frame = () => new Promise(done => requestAnimationFrame(() => {
        const {port1, port2} = new MessageChannel();
        port1.onmessage = done;
        port2.postMessage(null);
    }));
    const shown = [];
    for (let step = 0; step <= times; step++) {
        await frame();
        const start = performance.now();
        act(target, step, times);
        await frame();
        if (step === 0) continue;  // the first draws what later ones may keep
        shown.push(performance.now() - start);
    }
    return shown;
}"""
MOVE = """
    const {left, top, width, height} = target.getBoundingClientRect();
    const at = 0.1 + 0.8 * step / times;
    const where = {clientX: left + at * width, clientY: top + (1 - at) * height, bubbles: true, composed: true};
    target.dispatchEvent(new PointerEvent("pointermove", {...where, pointerType: "mouse", pointerId: 1}));
    target.dispatchEvent(new MouseEvent("mousemove", where));
"""
SLIDE = """
    const [low, high] = [Number(target.min || 0), Number(target.max || 100)];
    target.value = low + (high - low) * step / times;
    target.dispatchEvent(new Event("input", {bubbles: true, composed: true}));
"""


def interactives(visit: Visit) -> list[Locator]:
    """Those of the page, each drawn."""
    found = visit.look().locator(f".{MARK}").all()
    assert found
    for item in found:
        item.scroll_into_view_if_needed()
        item.locator("canvas[data-picture]").first.wait_for()
    return found


def pictures(interactive: Locator) -> list[bytes]:
    """What its canvases show."""
    return [canvas.screenshot() for canvas in interactive.locator("canvas[data-picture]:visible").all()]


@pytest.mark.parametrize(("page", "element"), EXPECTED)
def test_a_complete_build_has_it(browser, page, element):
    with opened(browser, page) as visit:
        assert visit.page.locator(f"{element}.{MARK}").count() == 1


#: Sets a slider and says what the reader then sees.
SET = """(slider, value) => {
    slider.value = value;
    slider.dispatchEvent(new Event("input", {bubbles: true, composed: true}));
    return Number(slider.value);
}"""
LEVELS = """canvas => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return {width: canvas.width, red: Array.from(data.filter((_, place) => place % 4 === 0))};
}"""


def shown(canvas: Locator, shape: Sequence[int]) -> torch.Tensor:
    """The images of a canvas as grey levels, `[n, height * width]`, without the lines between them."""
    height, width = shape
    seen = canvas.evaluate(LEVELS)
    rows = torch.tensor(seen["red"]).reshape(-1, seen["width"])
    cells = rows.unfold(0, height, height + 1).unfold(1, width, width + 1)
    return cells.reshape(-1, height * width)


@pytest.mark.parametrize("shape", [(6, 9), (11, 4)])
def test_images_of_any_height_and_width_are_drawn(browser, shape):
    means = torch.rand(8, shape[0] * shape[1])
    data = {"means": pack(means), "deviations": pack(0 * means), "shape": shape}
    page = browser.new_page()
    page.set_content(Interactive("alpha-slider", data, "")._repr_html_())
    canvas = page.locator("alpha-slider canvas")
    assert canvas.evaluate("canvas => [canvas.height, canvas.width]") == [2 * shape[0] + 1, 4 * shape[1] + 3]
    assert (shown(canvas, shape) - 255 * means).abs().max() <= 0.6
    page.close()


def test_the_page_decodes_a_code_as_the_library_does(browser):
    with opened(browser, "book/5_4_issues.html") as visit:
        explorer = visit.look().locator("latent-explorer")
        data = json.loads(explorer.locator("script").text_content())
        for number, model in enumerate(data["models"]):
            explorer.locator("input[type=radio]").nth(number).check(force=True)
            decode = PackedDecoder(**model["decoder"])
            for wanted in ((0.0, 0.0), (1.2, -0.7), (-0.9 * model["limit"], 0.5 * model["limit"])):
                sliders = explorer.locator("input[type=range]").all()
                z = [slider.evaluate(SET, value) for slider, value in zip(sliders, wanted, strict=True)]
                assert z == pytest.approx(wanted, abs=model["limit"] / 100)
                expected = 255 * decode(torch.tensor([z], dtype=torch.float64))
                assert (shown(explorer.locator("canvas[data-picture]"), data["shape"]) - expected).abs().max() <= 0.6


def test_alpha_adds_deviations_to_means(browser):
    with opened(browser, "book/5_3_solutions.html") as visit:
        slider = visit.look().locator("alpha-slider")
        data = json.loads(slider.locator("script").text_content())
        for alpha in (-1.3, 0.0, 2.1):
            slider.locator("input").evaluate(SET, alpha)
            expected = 255 * (unpack(data["means"]) + alpha * unpack(data["deviations"])).clamp(0, 1)
            assert (shown(slider.locator("canvas"), data["shape"]) - expected).abs().max() <= 0.6


def test_the_dial_adds_noise_of_the_deviation_that_it_names(browser):
    with opened(browser, "book/5_3_solutions.html") as visit:
        dial = visit.look().locator("variance-dial")
        data = json.loads(dial.locator("script").text_content())
        means, samples = (dial.locator(f'canvas[data-name="{name}"]') for name in ("means", "samples"))
        checked = 0
        for position, setting in enumerate(data["settings"]):
            dial.locator("input[type=range]").evaluate(SET, position)
            for reading in (0, 1):
                dial.locator("input[type=radio]").nth(reading).check(force=True)
                sigma = 0 if setting["beta"] is None else 1 if reading else setting["beta"] ** 0.5
                drawn, mean = (shown(canvas, data["shape"]) for canvas in (samples, means))
                noise = (drawn - mean) / 255
                inside = (mean > 100) & (mean < 155)  # where little of a small noise is cut off
                if sigma < 0.1 and inside.sum() > 50:
                    checked += sigma > 0
                    assert noise[inside].double().std().item() == pytest.approx(sigma, abs=0.1 * sigma + 0.003)
                if sigma == 1:
                    assert (noise.abs() > 0.1).float().mean() > 0.5
        assert checked > 1, "too few settings were looked at"


def test_a_clicked_code_is_kept_on_the_way_to_another_model(browser):
    with opened(browser, "book/5_4_issues.html") as visit:
        explorer = visit.look().locator("latent-explorer")
        canvas = explorer.locator("canvas[data-input]")
        canvas.click(position={"x": 180, "y": 90})
        sliders = explorer.locator("input[type=range]").all()
        kept = [slider.input_value() for slider in sliders]
        canvas.hover(position={"x": 60, "y": 200})
        assert [slider.input_value() for slider in sliders] != kept
        explorer.locator("input[type=radio]").nth(2).hover()
        assert [slider.input_value() for slider in sliders] == kept


@with_interactives
def test_the_picture_follows_the_mouse(visit: Visit):
    for interactive in interactives(visit):
        for canvas in interactive.locator("canvas[data-input]").all():
            canvas.hover(position={"x": 30, "y": 30})
            before = pictures(interactive)
            box = canvas.bounding_box()
            canvas.hover(position={"x": box["width"] * 0.6, "y": box["height"] * 0.55})
            assert pictures(interactive) != before


@with_interactives
def test_the_picture_follows_the_finger(browser: Browser, visit: Visit):
    with opened(browser, visit.name, has_touch=True) as touched:
        touched.page.set_viewport_size(PHONE)
        for interactive in interactives(touched):
            for canvas in interactive.locator("canvas[data-input]").all():
                canvas.tap(position={"x": 30, "y": 30})
                before = pictures(interactive)
                box = canvas.bounding_box()
                canvas.tap(position={"x": box["width"] * 0.6, "y": box["height"] * 0.55})
                assert pictures(interactive) != before


@with_interactives
def test_the_picture_follows_the_keys(visit: Visit):
    for interactive in interactives(visit):
        sliders = interactive.locator("input[type=range]:visible").all()
        pointed = interactive.locator("canvas[data-input][tabindex='0']").all()
        assert sliders or pointed, "nothing here can be reached by keyboard"
        for slider in sliders:
            seen = []
            for key in ("Home", "ArrowRight", "End"):
                slider.press(key)
                seen.append(pictures(interactive))
            assert seen[0] != seen[1] and seen[0] != seen[2]
        for canvas in pointed:
            canvas.hover()
            before = pictures(interactive)
            for _ in range(5):
                canvas.press("ArrowRight")
            assert pictures(interactive) != before


@with_interactives
def test_the_picture_follows_a_choice(visit: Visit):
    for interactive in interactives(visit):
        for slider in interactive.locator("input[type=range]:visible").all():
            slider.press("Home")
            slider.press("ArrowRight")  # away from where all choices may agree
        for radio in interactive.locator("input[type=radio]:not(:checked)").all():
            before = pictures(interactive)
            radio.check(force=True)
            assert pictures(interactive) != before
        for menu in interactive.locator("select").all():
            for value in menu.locator("option:not(:checked)").evaluate_all("options => options.map(o => o.value)"):
                before = pictures(interactive)
                menu.select_option(value)
                assert pictures(interactive) != before


@with_interactives
def test_the_picture_follows_at_once(visit: Visit, record_property):
    for interactive in interactives(visit):
        inputs = [(canvas, MOVE) for canvas in interactive.locator("canvas[data-input]").all()]
        inputs += [(slider, SLIDE) for slider in interactive.locator("input[type=range]").all()]
        assert inputs
        for target, send in inputs:
            rounds = (target.evaluate(STOPWATCH, {"times": TIMES, "send": send}) for _ in range(ROUNDS))
            taken = next((t for t in map(median, rounds) if t <= AT_ONCE), None)
            assert taken is not None, f"more than {AT_ONCE} ms in each of {ROUNDS} rounds"
            record_property("input to picture, ms", taken)
