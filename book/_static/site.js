// What the theme's scripts leave to be done.
"use strict";

// A browser does not let a page that was opened from the disk read another one: results without excerpts, not errors.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// A box that scrolls can be reached by keyboard. The theme does so for code, and only when the window changes.
document.addEventListener("DOMContentLoaded", () => {
  const boxes = new ResizeObserver((entries) => {
    for (const {target} of entries) target.tabIndex = target.scrollWidth > target.clientWidth ? 0 : -1;
  });
  document.querySelector("main #search-input")?.removeAttribute("id"); // the page of results has two of them
  const scrolling = "pre, div.output, div.math, .pst-scrollable-table-container";
  for (const box of document.querySelectorAll(`.bd-article :is(${scrolling})`)) boxes.observe(box);
});
