"""What rankings are worth: metrics, intervals, comparisons, floors."""
