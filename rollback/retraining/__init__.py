"""From a training buffer to a signed candidate that has been through the gate."""
