"""What nova needs: at its own extension points, and in seams."""
