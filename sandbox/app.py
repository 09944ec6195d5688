"""The sandbox as one web application."""

from __future__ import annotations

import ipaddress
import urllib.parse

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from sandbox import bank, control, panels, screens, sendgrid, twilio
from sandbox.core import Options, Sandbox, current
from sandbox.paypal import api as paypal_api
from sandbox.paypal import browser as paypal_browser
from sandbox.stripe import api as stripe_api
from sandbox.stripe import browser as stripe_browser

LARGEST_BODY = 32 * 1024 * 1024
PROVIDERS = (stripe_api, stripe_browser, paypal_api, paypal_browser, sendgrid, twilio)
PROVIDER_PATHS = ("/stripe/", "/stripe-js/", "/paypal/", "/sendgrid/", "/twilio/")


def create_app(options: Options) -> Flask:
    """Build the application with its state; the caller starts and stops `app.extensions["sandbox"].webhooks`."""
    box = Sandbox(options)
    app = Flask("sandbox", root_path=str(control.HERE), static_folder="assets", static_url_path="/assets")
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    app.config["MAX_FORM_MEMORY_SIZE"] = LARGEST_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["sandbox"] = box
    for module in PROVIDERS:
        app.register_blueprint(module.blueprint)
        module.plug_in(box)
    app.register_blueprint(control.blueprint)
    app.register_blueprint(screens.blueprint)
    app.register_blueprint(panels.blueprint)
    app.register_blueprint(bank.blueprint)
    app.before_request(_refuse_other_names)
    app.before_request(_refuse_other_sites)
    app.register_error_handler(HTTPException, _say_plainly)
    return app


def _refuse_other_names() -> Response | None:
    """A foreign name that was made to point at this machine must not make its pages part of the sandbox's own origin."""
    try:
        name = urllib.parse.urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        name = ""
    options = current().options
    if name in {"localhost", options.host, urllib.parse.urlsplit(options.public_url).hostname}:
        return None
    try:
        if ipaddress.ip_address(name).is_loopback:
            return None
    except ValueError:
        pass
    return _refusal(f"The sandbox does not answer to this name. Open {options.url}/ instead.")


def _refuse_other_sites() -> Response | None:
    """Screens and controls change things; a page of another origin open in the same browser must not."""
    if request.method in {"GET", "HEAD", "OPTIONS"} or request.path.startswith(PROVIDER_PATHS):
        return None
    origin = request.headers.get("Origin")
    if origin and origin.partition("://")[2] == request.host:
        return None
    if not origin and request.headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}:
        return None
    return _refusal("This control answers only its own pages and programs, not other websites.")


def _refusal(text: str) -> Response:
    refusal = jsonify(error=text)
    refusal.status_code = 403
    return refusal


def _say_plainly(problem: HTTPException) -> Response | HTTPException:
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        return problem
    answer = jsonify(error=problem.description or problem.name)
    answer.status_code = problem.code or 500
    return answer
