"""FacTool: take the claims out of a text, look each one up, judge each one, report."""
