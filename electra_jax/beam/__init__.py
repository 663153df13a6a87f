"""`prepare` on Apache Beam, for corpora past one machine."""
