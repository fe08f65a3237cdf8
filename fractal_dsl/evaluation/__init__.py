"""What a trained net can do: accuracy, predictions, and the trade-off of anytime answers.

Reads the folder of a run and produces figures. Nothing is trained here."""
