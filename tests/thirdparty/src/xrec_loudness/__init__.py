"""An explainer and a lifecycle hook, as a package of its own."""
