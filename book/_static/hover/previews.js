// What previews of figures, equations, algorithms and citations do beside sphinx-tippy's settings in _config.yml.
document.addEventListener("DOMContentLoaded", () => {
  if (!window.tippy) return;
  const wellBehaved = {
    name: "wellBehaved",
    fn(preview) {
      const close = (event) => {
        if (event.key === "Escape") preview.hide();
      };
      return {
        onShow() {
          document.addEventListener("keydown", close);
          // A copy has no anchors of its own, and an entry of a list is alone here.
          for (const copied of preview.popper.querySelectorAll(".tippy-content [id]")) copied.removeAttribute("id");
          for (const entry of preview.popper.querySelectorAll("[role=listitem]")) entry.removeAttribute("role");
        },
        onHide: () => document.removeEventListener("keydown", close),
      };
    },
  };
  tippy.setDefaultProps({
    appendTo: () => document.body,
    aria: { content: null, expanded: false }, // the link says where it leads; the preview only saves the way
    plugins: [...tippy.defaultProps.plugins, wellBehaved],
    role: "presentation", // a formula alone would be a tooltip without a name
    touch: false, // a tap follows the link
  });
});
