"""One adapter a data set, all ending in the same curated tables; findings, demographics, splits and film import.

Importing this package is cheap on purpose (film workers start from it); it knows no generator and no classifier.
"""
