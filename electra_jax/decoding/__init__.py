"""Text written token by token: greedy, by beam search, by sampling."""
