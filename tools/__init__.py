"""What tasks.py runs: one module for each command, each with ``main(argv)``, and what they share."""
