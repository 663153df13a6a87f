"""What a fine-tuning task is: readers, features, scores; numpy only."""
