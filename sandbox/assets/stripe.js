// The sandbox's stand-in for Stripe.js: the same calls and the same answers, against the sandbox that served this file.
// Card data is typed in a frame of the sandbox and goes from there to the sandbox; the page around it never sees it.
(() => {
  "use strict";

  const source = document.currentScript ? document.currentScript.src : "";
  const base = source.replace(/\/(stripe-js\/v3\/?|stripe\.js)(\?.*)?$/, "");
  const origin = new URL(base || window.location.href).origin;
  const VERSION = "2026-08-26.dahlia";
  const CHALLENGE_LOAD_MS = 10000;

  class IntegrationError extends Error {
    constructor(message) {
      super(message);
      this.name = "IntegrationError";
    }
  }

  const encode = (value, name, into) => {
    if (value === undefined || value === null) return into;
    if (Array.isArray(value)) value.forEach((item, index) => encode(item, `${name}[${index}]`, into));
    else if (typeof value === "object") {
      for (const [key, item] of Object.entries(value)) encode(item, name ? `${name}[${key}]` : key, into);
    } else into.append(name, String(value));
    return into;
  };

  const call = async (key, method, path, params) => {
    const encoded = encode(params, "", new URLSearchParams());
    const url = `${base}/stripe/v1/${path}${method === "GET" ? `?${encoded}` : ""}`;
    let response;
    try {
      response = await fetch(url, {
        method,
        credentials: "omit",
        headers: { Authorization: `Bearer ${key}`, "Stripe-Version": VERSION },
        body: method === "GET" ? undefined : encoded,
      });
      const body = await response.json();
      return response.ok ? { value: body } : { error: body.error };
    } catch {
      return {
        error: {
          type: "api_connection_error",
          message: "We could not reach the payment provider. Please check your connection and try again.",
        },
      };
    }
  };

  const idOf = (secret) => {
    const match = /^((pi|seti)_[A-Za-z0-9]+)_secret_[A-Za-z0-9]+$/.exec(secret || "");
    if (!match) throw new IntegrationError(`Invalid value for clientSecret: it should be a client secret of the form \${id}_secret_\${secret}. You specified: ${secret}.`);
    return { id: match[1], kind: match[2] === "pi" ? "payment_intent" : "setup_intent" };
  };
  const pathOf = (secret) => {
    const { id, kind } = idOf(secret);
    return `${kind}s/${id}`;
  };

  // The Payment Element

  let nextFrame = 1;

  class Element {
    constructor(group, type, options) {
      this.group = group;
      this.type = type;
      this.options = options || {};
      this.listeners = {};
      this.waiting = new Map();
      this.requests = 0;
      this.name = `sandbox-stripe-${nextFrame++}`;
      this.complete = false;
      this._onMessage = (event) => this._receive(event);
    }

    mount(target) {
      const place = typeof target === "string" ? document.querySelector(target) : target;
      if (!place) throw new IntegrationError(`The selector you specified (${target}) applies to no DOM elements that are currently on the page. Make sure the element exists on the page before calling mount().`);
      if (this.frame) this.unmount();
      this.frame = document.createElement("iframe");
      this.frame.name = this.name;
      this.frame.title = "Secure payment input frame";
      this.frame.setAttribute("allow", "payment *");
      Object.assign(this.frame.style, { border: "0", width: "calc(100% + 6px)", height: "260px", display: "block", colorScheme: "light only", overflow: "hidden", margin: "-3px", padding: "0" });
      window.addEventListener("message", this._onMessage);
      this.frame.src = `${base}/stripe-js/elements/payment#${encodeURIComponent(window.location.origin)}`;
      this.frame.addEventListener("error", () => this._emit("loaderror", { elementType: this.type, error: { type: "api_connection_error", message: "The payment form could not be loaded." } }));
      this.loading = window.setTimeout(() => {
        if (!this.ready) this._emit("loaderror", { elementType: this.type, error: { type: "api_connection_error", message: "The payment form could not be loaded." } });
      }, CHALLENGE_LOAD_MS);
      place.replaceChildren(this.frame);
      place.classList.add("StripeElement");
      return this;
    }

    unmount() {
      window.removeEventListener("message", this._onMessage);
      window.clearTimeout(this.loading);
      if (this.frame) this.frame.remove();
      this.frame = null;
      this.ready = false;
      return this;
    }

    destroy() {
      this.unmount();
      this.group._forget(this);
      return this;
    }

    on(name, handler) {
      (this.listeners[name] ||= []).push(handler);
      if (name === "ready" && this.ready) window.setTimeout(() => handler({ elementType: this.type }), 0);
      return this;
    }
    once(name, handler) {
      const wrapped = (event) => { this.off(name, wrapped); handler(event); };
      return this.on(name, wrapped);
    }
    off(name, handler) {
      this.listeners[name] = (this.listeners[name] || []).filter((known) => handler && known !== handler);
      return this;
    }
    update(options) {
      Object.assign(this.options, options);
      this._setUp();
      return this;
    }
    focus() { this._post({ type: "focus" }); return this; }
    blur() { this._post({ type: "blur" }); return this; }
    clear() { this._post({ type: "clear" }); return this; }
    collapse() { return this; }

    _emit(name, event) {
      for (const handler of [...(this.listeners[name] || [])]) handler(event);
    }
    _post(message) {
      if (this.frame && this.frame.contentWindow) this.frame.contentWindow.postMessage({ sandbox: "stripe", ...message }, origin);
    }
    _setUp() {
      const options = this.options;
      this._post({
        type: "init",
        key: this.group.key,
        locale: this.group.options.locale || "auto",
        appearance: JSON.parse(JSON.stringify(this.group.options.appearance || {})),
        fields: JSON.parse(JSON.stringify(options.fields || {})),
        defaults: JSON.parse(JSON.stringify(options.defaultValues || {})),
        readOnly: Boolean(options.readOnly),
      });
    }
    _ask(type, details) {
      if (!this.frame || !this.ready) {
        return Promise.reject(new IntegrationError("Invalid value for elements: it should have a mounted Payment Element. Please make sure the Element you are attempting to use is still mounted."));
      }
      const number = ++this.requests;
      return new Promise((resolve) => {
        this.waiting.set(number, resolve);
        this._post({ type, number, ...details });
      });
    }
    _receive(event) {
      if (!this.frame || event.source !== this.frame.contentWindow || event.origin !== origin) return;
      const message = event.data || {};
      if (message.sandbox !== "stripe") return;
      if (message.type === "hello") this._setUp();
      else if (message.type === "ready" && !this.ready) {
        this.ready = true;
        window.clearTimeout(this.loading);
        this._emit("ready", { elementType: this.type });
      } else if (message.type === "height") this.frame.style.height = `${Math.max(Number(message.height) || 0, 40)}px`;
      else if (message.type === "change") {
        this.complete = message.complete;
        this._emit("change", { elementType: this.type, collapsed: false, complete: message.complete, empty: message.empty, value: { type: "card" } });
      } else if (message.type === "focus" || message.type === "blur" || message.type === "escape") this._emit(message.type, { elementType: this.type });
      else if (message.type === "answer" && this.waiting.has(message.number)) {
        this.waiting.get(message.number)(message.result);
        this.waiting.delete(message.number);
      }
    }
  }

  class Elements {
    constructor(key, options) {
      this.key = key;
      this.options = options || {};
      this.made = {};
      if (this.options.clientSecret) idOf(this.options.clientSecret);
      else if (!this.options.mode) throw new IntegrationError("In order to create a payment element, you must pass a clientSecret or mode when creating the Elements group.");
    }
    create(type, options) {
      if (type !== "payment") throw new IntegrationError(`The sandbox plays the Payment Element only, not "${type}".`);
      if (this.made[type]) throw new IntegrationError("Can only create one Element of type payment through this Elements group.");
      this.made[type] = new Element(this, type, options);
      return this.made[type];
    }
    getElement(type) { return this.made[type] || null; }
    update(options) {
      Object.assign(this.options, options);
      for (const element of Object.values(this.made)) element._setUp();
    }
    async fetchUpdates() { return {}; }
    async submit() {
      const element = this._payment();
      this.submitted = true;
      const result = await element._ask("submit", {});
      return result.error ? { error: result.error } : { selectedPaymentMethod: "card" };
    }
    _payment() {
      if (!this.made.payment) throw new IntegrationError("Invalid value for elements: it should have a mounted Payment Element.");
      return this.made.payment;
    }
    _forget(element) { delete this.made[element.type]; }
  }

  // 3-D Secure

  const challenge = (url, returnUrl) => new Promise((resolve) => {
    const before = document.activeElement;
    const cover = document.createElement("div");
    Object.assign(cover.style, { position: "fixed", inset: "0", zIndex: "2147483647", background: "rgba(15, 18, 25, .66)", display: "flex", alignItems: "center", justifyContent: "center", padding: "16px", margin: "0" });
    cover.setAttribute("role", "dialog");
    cover.setAttribute("aria-modal", "true");
    cover.setAttribute("aria-label", "Your bank asks you to confirm this payment");
    const frame = document.createElement("iframe");
    frame.title = "Bank authentication";
    Object.assign(frame.style, { border: "0", width: "100%", maxWidth: "440px", height: "min(600px, 100%)", borderRadius: "16px", background: "#fff", boxShadow: "0 24px 80px rgba(0, 0, 0, .4)" });
    const done = () => {
      window.removeEventListener("message", receive);
      window.clearTimeout(timer);
      cover.remove();
      if (before && before.focus) before.focus();
      resolve();
    };
    const receive = (event) => {
      if (event.source !== frame.contentWindow || event.origin !== origin) return;
      const message = event.data || {};
      if (message.sandbox !== "stripe-3ds") return;
      window.clearTimeout(timer);
      if (message.type === "done") done();
    };
    // A page whose policy shows no frames still gets its challenge: as a full page that comes back.
    const timer = window.setTimeout(() => {
      if (returnUrl) window.location.assign(`${url}&mode=redirect`);
    }, CHALLENGE_LOAD_MS);
    window.addEventListener("message", receive);
    frame.src = url;
    cover.append(frame);
    document.body.append(cover);
    frame.addEventListener("load", () => frame.focus());
  });

  const afterChallenge = async (key, secret, intent, returnUrl) => {
    const { kind } = idOf(secret);
    let current = intent;
    if (current.status === "requires_action") {
      const action = current.next_action || {};
      if (action.type === "redirect_to_url") {
        window.location.assign(action.redirect_to_url.url);
        return new Promise(() => {});
      }
      await challenge(action.use_stripe_sdk.stripe_js, returnUrl);
      const again = await call(key, "GET", pathOf(secret), { client_secret: secret });
      if (again.error) return { error: again.error };
      current = again.value;
    }
    const failed = kind === "payment_intent" ? current.last_payment_error : current.last_setup_error;
    if (current.status === "requires_payment_method" && failed) return { error: { ...failed, [kind]: current } };
    return { intent: current };
  };

  const withOutcome = (returnUrl, intent) => {
    const url = new URL(returnUrl);
    url.searchParams.append(intent.object, intent.id);
    url.searchParams.append(`${intent.object}_client_secret`, intent.client_secret);
    url.searchParams.append("redirect_status", { succeeded: "succeeded", requires_capture: "succeeded", processing: "pending" }[intent.status] || "failed");
    return url.toString();
  };

  const checkReturn = (url) => {
    try {
      if (!/^https?:$/.test(new URL(url).protocol)) throw new TypeError();
    } catch {
      throw new IntegrationError(`Invalid value for confirmParams.return_url: it should be a full URL, for example https://example.com/return. You specified: ${url}.`);
    }
  };

  const confirm = async (key, options, kind) => {
    const { elements, redirect = "always" } = options;
    const params = { ...(options.confirmParams || {}) };
    const secret = options.clientSecret || (elements && elements.options.clientSecret);
    if (!secret) throw new IntegrationError("Missing value for clientSecret: pass it to elements() or to this call.");
    if (idOf(secret).kind !== kind) throw new IntegrationError(`Invalid clientSecret: it should belong to a ${kind === "payment_intent" ? "PaymentIntent" : "SetupIntent"}.`);
    if (redirect === "always" && !params.return_url) throw new IntegrationError("Missing value for confirmParams.return_url: it is required unless redirect is if_required.");
    if (params.return_url) checkReturn(params.return_url);
    if (elements) {
      if (elements.options.mode && !elements.submitted) throw new IntegrationError("elements.submit() must be called before confirming when the Elements group was created without a clientSecret.");
      const billing = (params.payment_method_data || {}).billing_details || {};
      const made = await elements._payment()._ask("method", { billing: JSON.parse(JSON.stringify(billing)) });
      if (made.error) return { error: made.error };
      params.payment_method = made.paymentMethod.id;
    }
    delete params.payment_method_data;
    const answer = await call(key, "POST", `${pathOf(secret)}/confirm`, { ...params, client_secret: secret, use_stripe_sdk: true });
    if (answer.error) return { error: answer.error };
    const outcome = await afterChallenge(key, secret, answer.value, params.return_url);
    if (outcome.error) return outcome;
    if (redirect === "always") {
      window.location.assign(withOutcome(params.return_url, outcome.intent));
      return new Promise(() => {});
    }
    return kind === "payment_intent" ? { paymentIntent: outcome.intent } : { setupIntent: outcome.intent };
  };

  const confirmCard = async (key, secret, data, options, kind) => {
    const method = (data || {}).payment_method;
    if (method && typeof method === "object") throw new IntegrationError("The sandbox takes the id of a saved payment method here; for typed cards use the Payment Element.");
    const params = { client_secret: secret, use_stripe_sdk: true, payment_method: method, return_url: (data || {}).return_url, receipt_email: (data || {}).receipt_email, setup_future_usage: (data || {}).setup_future_usage };
    const answer = await call(key, "POST", `${pathOf(secret)}/confirm`, params);
    if (answer.error) return { error: answer.error };
    let outcome = { intent: answer.value };
    if (!options || options.handleActions !== false) outcome = await afterChallenge(key, secret, answer.value, params.return_url);
    if (outcome.error) return outcome;
    return kind === "payment_intent" ? { paymentIntent: outcome.intent } : { setupIntent: outcome.intent };
  };

  const retrieve = async (key, secret, name) => {
    const answer = await call(key, "GET", pathOf(secret), { client_secret: secret });
    return answer.error ? { error: answer.error } : { [name]: answer.value };
  };

  const next = async (key, secret) => {
    const { kind } = idOf(secret);
    const name = kind === "payment_intent" ? "paymentIntent" : "setupIntent";
    const answer = await call(key, "GET", pathOf(secret), { client_secret: secret });
    if (answer.error) return { error: answer.error };
    const outcome = await afterChallenge(key, secret, answer.value, null);
    return outcome.error ? outcome : { [name]: outcome.intent };
  };

  const Stripe = (key, options = {}) => {
    if (typeof key !== "string" || !/^pk_test_[A-Za-z0-9_]{16,}$/.test(key)) {
      throw new IntegrationError(/^sk_/.test(key) ? "You should not use your secret key with Stripe.js. Please pass a publishable key instead." : "Please call Stripe() with your publishable test key. This is a sandbox: it takes pk_test_... only.");
    }
    return {
      _apiKey: key,
      elements: (given = {}) => new Elements(key, { locale: options.locale, ...given }),
      confirmPayment: (given) => confirm(key, given || {}, "payment_intent"),
      confirmSetup: (given) => confirm(key, given || {}, "setup_intent"),
      confirmCardPayment: (secret, data, given) => confirmCard(key, secret, data, given, "payment_intent"),
      confirmCardSetup: (secret, data, given) => confirmCard(key, secret, data, given, "setup_intent"),
      retrievePaymentIntent: (secret) => retrieve(key, secret, "paymentIntent"),
      retrieveSetupIntent: (secret) => retrieve(key, secret, "setupIntent"),
      handleNextAction: ({ clientSecret }) => next(key, clientSecret),
      handleCardAction: (secret) => next(key, secret),
      createPaymentMethod: async ({ elements, params } = {}) => {
        if (!elements) throw new IntegrationError("Pass the elements group whose Payment Element holds the card.");
        return elements._payment()._ask("method", { billing: (params || {}).billing_details || {} });
      },
      registerAppInfo: () => {},
    };
  };
  Stripe.version = 3;
  window.Stripe = Stripe;
})();
