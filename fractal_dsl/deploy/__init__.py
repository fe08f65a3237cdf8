"""What comes after training: columns as plain networks.

In: a run. Out: artifacts. Nothing is trained here."""
