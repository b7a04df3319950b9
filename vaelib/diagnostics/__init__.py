r"""What a trained model really is: model and images in, numbers out."""
