"""Writing to many: campaigns with consent, at a pace, and emergency alerts at once.

audience.py says what may be asked about people (answered on a higher floor), people.py makes recipients, dispatch.py sends them, press.py
renders the same words many times, steps.py moves a campaign along, alerts.py warns, results.py reads.
"""
