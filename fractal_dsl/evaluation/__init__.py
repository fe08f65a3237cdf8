"""What a trained net answers: accuracy, predictions, the trade-off of anytime answers.

In: the folder of a run. Out: figures. Nothing is trained here."""
