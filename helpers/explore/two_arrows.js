export default { render({ el }) { el.textContent = "two_arrows"; } };
