export default { render({ el }) { el.textContent = "own_sentence"; } };
