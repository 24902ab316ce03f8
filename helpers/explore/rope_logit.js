export default { render({ el }) { el.textContent = "rope_logit"; } };
