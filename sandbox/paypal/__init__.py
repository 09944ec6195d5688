"""PayPal: Orders v2, Payments v2, Vault v3, transaction search, disputes, webhooks and IPN."""
