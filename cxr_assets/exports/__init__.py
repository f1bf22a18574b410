"""Real studies and synthetic images in the forms that other programs read.

What may leave the machine is decided by the terms of each row; nothing here looks at who asks.
"""
