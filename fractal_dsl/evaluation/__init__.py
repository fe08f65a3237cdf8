"""What a trained net can do: accuracy, predictions, and the trade-off of anytime answers.

In: the folder of a run. Out: figures. Nothing is trained here.
Not imported here: ``training`` and above."""
