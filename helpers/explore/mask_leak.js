export default { render({ el }) { el.textContent = "mask_leak"; } };
