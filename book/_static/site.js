// What the theme's scripts leave to be done.
"use strict";

// A browser does not let a page that was opened from the disk read another one: results without excerpts, not errors.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// A box that scrolls can be reached by keyboard, and is shaded on each side where it goes on (custom.css). The theme does
// the former for code alone, and only when the window changes; MathJax does it for formulas.
document.addEventListener("DOMContentLoaded", () => {
  const watch = (box) => {
    const look = () => {
      const hidden = box.scrollWidth - box.clientWidth;
      if (!box.matches("mjx-container")) box.tabIndex = hidden > 0 ? 0 : -1;
      box.classList.toggle("goes-on-left", box.scrollLeft >= 1);
      box.classList.toggle("goes-on-right", hidden - box.scrollLeft >= 1);
    };
    const sizes = new ResizeObserver(look);
    sizes.observe(box);
    if (box.firstElementChild) sizes.observe(box.firstElementChild);
    box.addEventListener("scroll", look, {passive: true});
  };
  const watchAll = (selector) => document.querySelectorAll(`.bd-article :is(${selector})`).forEach(watch);
  watchAll("pre, div.output, div.math, .pst-scrollable-table-container, section[id^='module-'] p");
  window.MathJax?.startup?.promise.then(() => watchAll("mjx-container[display='true']"));

  document.querySelector("main #search-input")?.removeAttribute("id"); // the page of results has two of them
});

// A table that a phone shows as one list (custom.css) repeats its head at each item.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("#notes-on-single-programs table"))
    for (const {cells} of table.tBodies[0].rows)
      for (const cell of cells) cell.dataset.head = table.tHead.rows[0].cells[cell.cellIndex].textContent;
});
