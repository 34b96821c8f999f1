"""The studies behind docs/RESULTS.md: worlds and comparisons that the package itself does not need (nor install)."""
