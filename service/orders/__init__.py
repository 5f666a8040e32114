"""Orders: an order's document, cached for seconds; waiting until images are ready; images that were made anew."""
