export default { render({ el }) { el.textContent = "sinusoid_kernel"; } };
