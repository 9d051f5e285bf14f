"""`python -m facelift.cli`."""

from facelift.cli import main

if __name__ == "__main__":
    main()
