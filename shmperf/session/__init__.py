"""How processes meet and talk: sessions, presence, private files, questions and answers."""
