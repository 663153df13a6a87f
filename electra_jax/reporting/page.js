"use strict";
// Turns the list of evaluations into one that is scrolled through by a slider.
for (const gallery of document.querySelectorAll(".gallery")) {
  const frames = [...gallery.querySelectorAll(".frame")];
  if (frames.length < 2) continue;
  gallery.classList.add("scripted");
  const make = (name, values) =>
    Object.assign(document.createElement(name), values);
  const player = make("div", { className: "player" });
  const back = make("button", { type: "button", textContent: "‹ earlier" });
  const next = make("button", { type: "button", textContent: "later ›" });
  const slider = make("input", {
    type: "range", min: 0, max: frames.length - 1, value: frames.length - 1,
  });
  slider.setAttribute("aria-label", "Evaluation");
  const step = make("output", {});
  const told = make("span", { className: "note" });
  const show = (place) => {
    const at = Math.max(0, Math.min(frames.length - 1, Number(place)));
    frames.forEach((frame, i) => {
      frame.hidden = i !== at;
      frame.open = i === at;
    });
    slider.value = at;
    step.textContent =
      "step " + Number(frames[at].dataset.step).toLocaleString("en");
    slider.setAttribute("aria-valuetext", step.textContent);
    told.textContent = frames[at].querySelector("summary .note").textContent;
  };
  slider.addEventListener("input", () => show(slider.value));
  back.addEventListener("click", () => show(Number(slider.value) - 1));
  next.addEventListener("click", () => show(Number(slider.value) + 1));
  player.append(back, slider, next, step, told);
  gallery.prepend(player);
  show(frames.length - 1);
}
