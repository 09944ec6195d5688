"""PDF: receipts, credit notes and whatever else the house prints. Rendered on demand, never inside a transaction that moves money."""
