"""The commands, one module each; ``minikern.cli`` loads the one that is called."""
