// What the pages need besides text: explorables without a kernel, pictures full screen, folded answers by keyboard.

// What render({model, el}) of an explorable asks of anywidget's model.
class Model {
  constructor(state) {
    this.state = { ...state };
    this.handlers = new Map();
  }
  get(key) {
    return this.state[key];
  }
  set(key, value) {
    if (this.state[key] === value) return;
    this.state[key] = value;
    for (const name of [`change:${key}`, "change"]) (this.handlers.get(name) || []).forEach((handle) => handle());
  }
  on(name, handle) {
    this.handlers.set(name, [...(this.handlers.get(name) || []), handle]);
  }
  off(name, handle) {
    this.handlers.set(name, (this.handlers.get(name) || []).filter((other) => other !== handle));
  }
  save_changes() {}
}

for (const el of document.querySelectorAll("[data-explorable]")) {
  const { state, dials } = JSON.parse(el.dataset.model);
  try {
    const { default: widget } = await import(new URL(`./explore/${el.dataset.explorable}.js`, import.meta.url));
    const still = [...el.childNodes];
    el.replaceChildren(); // the still twin was the fallback
    try {
      widget.render({ model: new Model({ ...state, dials }), el });
    } catch (error) {
      el.replaceChildren(...still);
      throw error;
    }
  } catch (error) {
    console.error(`explorable ${el.dataset.explorable}`, error);
  }
}

// A picture opens full screen: click it, or press Enter on it. Escape closes.
const stage = document.createElement("dialog");
stage.className = "stage";
stage.setAttribute("aria-label", "Picture, full screen");
document.body.append(stage);
stage.addEventListener("click", () => stage.close());
for (const image of document.querySelectorAll("main img")) {
  if (image.closest("a, .explorable")) continue;
  const open = () => {
    const large = image.cloneNode();
    large.removeAttribute("style");
    stage.replaceChildren(large);
    stage.showModal();
  };
  image.tabIndex = 0;
  image.setAttribute("role", "button");
  image.setAttribute("aria-label", `${image.alt} (press Enter for full screen)`);
  image.addEventListener("click", open);
  image.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      open();
    }
  });
}
