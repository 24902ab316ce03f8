// Where MathJax finds its fonts, from a page of any depth. Screen readers get MathML, which is lighter than speech.
const files = new URL(`${document.documentElement.dataset.content_root}_static/`, document.baseURI).href;
const quiet = { enrich: false, speech: false, braille: false, collapsible: false, assistiveMml: true };
window.MathJax = {
  loader: { load: ["a11y/assistive-mml"] },
  output: { fontPath: `${files}mathjax-newcm-font`, displayOverflow: "scroll" },
  options: {
    processHtmlClass: "math|tex2jax_process",
    menuOptions: { settings: quiet },
    enableEnrichment: false,
    enableSpeech: false,
    enableBraille: false,
    enableExplorer: false,
    enableComplexity: false,
    enableAssistiveMml: true,
  },
};
