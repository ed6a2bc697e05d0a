"""An explainer, an influence method and a lifecycle hook, as a package of its own."""
