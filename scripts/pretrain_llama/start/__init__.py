"""Write a first configuration: look at vendor files and a model's folder, and say what was found and left out."""
