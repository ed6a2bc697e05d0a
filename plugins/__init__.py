"""First-party plugins: each kind a folder, each plugin a file, declared in pyproject.toml like anyone's."""
