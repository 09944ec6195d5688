// Tells the page that opened the bank's screen how far it is; the page then asks the API what happened.
(() => {
  "use strict";
  if (window.parent === window) return;
  const { state, intent } = document.body.dataset;
  window.parent.postMessage({ sandbox: "stripe-3ds", type: state, intent }, "*");
})();
