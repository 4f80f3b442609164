"""Memory images for RTL, and the Verilog that checks them."""
