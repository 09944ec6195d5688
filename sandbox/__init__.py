"""The provider sandbox: one separate process that speaks Stripe, PayPal, SendGrid and Twilio over real HTTP.

It moves no real money and sends no real message. It imports no app of this project and no app imports it; the
only way in is the same HTTP that the real providers offer.
"""
