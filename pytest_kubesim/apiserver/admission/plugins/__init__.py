"""One file an admission plugin, under its canonical name; `admission.chain` orders them."""
