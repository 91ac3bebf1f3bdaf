"""`search`: networks that beat a reference, proposed, trained, confirmed and explained."""
