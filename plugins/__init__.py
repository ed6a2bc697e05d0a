"""First-party plugins: each kind a folder, each plugin a file, declared as anyone's are."""
