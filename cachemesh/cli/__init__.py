"""The `cachemesh` command: `main.py` joins what each file offers for one noun."""
