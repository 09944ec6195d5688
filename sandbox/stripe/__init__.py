"""Stripe as the sandbox plays it: API, browser library, test cards."""
