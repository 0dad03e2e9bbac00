"""What every room needs: errors, arguments, files, progress, processes, the tokenizer."""
