// What the pages need besides text: explorables without a kernel, pictures full screen, scrolling by keyboard.

// ------------------------------------------------------------------------------------------------ explorables

/** What render({ model, el }) of an explorable asks of anywidget's model. */
class Model {
  constructor(state) {
    this.state = state;
    this.listeners = new Map();
  }
  get(key) {
    return this.state[key];
  }
  set(key, value) {
    if (this.state[key] === value) return;
    this.state[key] = value;
    for (const listener of [...(this.listeners.get(`change:${key}`) ?? [])]) listener();
  }
  on(event, listener) {
    this.listeners.set(event, [...(this.listeners.get(event) ?? []), listener]);
  }
  off(event, gone) {
    this.listeners.set(event, (this.listeners.get(event) ?? []).filter((one) => one !== gone));
  }
  save_changes() {}
}

/** Put the live version where its still twin stands; if it fails, the twin stays. */
async function enliven(frame) {
  const { default: widget } = await import(`./explore/${frame.dataset.explorable}.js`);
  const place = document.createElement("div");
  widget.render({ model: new Model(JSON.parse(frame.dataset.model)), el: place });
  frame.replaceChildren(place, fullScreenButton(frame, place));
}

/** An explorable fills the screen as far as its shape allows, dials and all. */
function fullScreenButton(frame, place) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "full-screen";
  button.textContent = "Full screen";
  button.addEventListener("click", () => (document.fullscreenElement ? document.exitFullscreen() : frame.requestFullscreen()));
  frame.addEventListener("fullscreenchange", () => {
    const full = document.fullscreenElement === frame;
    place.style.zoom = 1;
    if (full) place.style.zoom = Math.min(frame.clientWidth / 780, (frame.clientHeight - 60) / place.firstChild.offsetHeight);
    button.textContent = full ? "Back to the page" : "Full screen";
  });
  return button;
}

for (const frame of document.querySelectorAll("[data-explorable]"))
  enliven(frame).catch((error) => console.error(`explorable ${frame.dataset.explorable}`, error));

// ------------------------------------------------------------------------------------------------ pictures

// A picture opens full screen by a click, by Enter, or by the address #fig-NAME. Arrow keys turn the leaves.
const pictures = [...document.querySelectorAll("article img")].filter((image) => !image.closest("a, [data-explorable]"));
const stage = document.createElement("dialog");
stage.className = "stage";
stage.setAttribute("aria-label", "Picture, full screen. Arrow keys show the next and the previous one, Escape closes.");
let shown = -1;

function show(number) {
  if (number < 0 || number >= pictures.length) return;
  shown = number;
  const { src, alt } = pictures[number];
  const large = Object.assign(new Image(), { src, alt });
  const words = document.createElement("p");
  words.textContent = `${number + 1} of ${pictures.length}`;
  stage.replaceChildren(large, words);
  if (!stage.open) stage.showModal();
  const { id } = pictures[number].closest(".picture") ?? {};
  if (id) history.replaceState(history.state, "", `#${id}`);
}

stage.addEventListener("click", () => stage.close());
stage.addEventListener("close", () => {
  pictures[shown].scrollIntoView({ block: "center" });
  pictures[shown].focus({ preventScroll: true });
});
document.addEventListener("keydown", (event) => {
  if (!stage.open) return;
  const step = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1 }[event.key];
  if (event.key === "Enter" || event.key === "Escape") stage.close();
  else if (step) show(shown + step);
  else return;
  event.preventDefault();
});
document.body.append(stage);

pictures.forEach((image, number) => {
  image.tabIndex = 0;
  image.setAttribute("role", "button");
  image.setAttribute("aria-label", `${image.alt} (Enter: full screen)`);
  image.addEventListener("click", () => show(number));
  image.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    show(number);
  });
});

function openAddressed() {
  const frame = /^#fig-\w+$/.test(location.hash) && document.querySelector(location.hash);
  const number = frame ? pictures.findIndex((image) => frame.contains(image)) : -1;
  if (number >= 0) show(number);
}
addEventListener("hashchange", openAddressed);
openAddressed();

// ------------------------------------------------------------------------------------------------ scrolling

// What is wider than the page scrolls in a frame of its own, which the keyboard reaches.
for (const table of document.querySelectorAll("article table")) {
  const frame = document.createElement("div");
  frame.className = "wide";
  table.replaceWith(frame);
  frame.append(table);
}
const WIDE = "article pre, article .wide, article mjx-container[display]";
function reach() {
  for (const box of document.querySelectorAll(WIDE))
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else if (box.tabIndex === 0) box.removeAttribute("tabindex");
}
reach();
addEventListener("resize", reach);
addEventListener("load", () => window.MathJax?.startup?.promise?.then(reach));
