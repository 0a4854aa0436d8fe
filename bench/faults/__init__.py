"""The fault campaign: what dies, starves or is damaged, and whether every call is still there."""
