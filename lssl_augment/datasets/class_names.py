"""Class names of a data set → labels, with the user's wishes applied."""

from __future__ import annotations

from lssl_augment.attributes import Vocabulary, canonical_expression
from lssl_augment.datasets.records import ReadOptions
from lssl_augment.errors import DataError

__all__ = ["ClassNames"]


class ClassNames:
    """Turns names into labels.

    Args:
        usual: the data set's vocabulary. options: ``classes`` and ``aliases`` of the user.

    Attributes:
        vocabulary: of the labels given out.

    Raises:
        DataError: empty or repeated class names, or an alias of no expression.
    """

    def __init__(self, usual: Vocabulary, options: ReadOptions) -> None:
        asked = options.classes
        self._usual = usual
        self.vocabulary = usual if asked is None else Vocabulary(tuple(map(canonical_expression, asked)))
        self._aliases = {name.strip().lower(): word for name, word in options.aliases.items()}
        for name, word in self._aliases.items():
            if word not in self.vocabulary and word not in usual:
                raise DataError(f"alias {name}={word}: {word!r} is no expression here; {self._allowed()}")

    def word(self, name: str, where: str) -> str:
        """The package's word for a class name.

        Args:
            name: as the data set spells it. where: the file, line or folder, for the message.

        Raises:
            DataError: the name is unknown.
        """
        word = canonical_expression(self._aliases.get(name.strip().lower(), name))
        if word in self.vocabulary or word in self._usual:
            return word
        raise DataError(
            f"{where}: unknown expression {name!r}; {self._allowed()}. Translate it with "
            f"`--alias {name}=EXPRESSION`, or name your own expressions with --classes"
        )

    def _allowed(self) -> str:
        return f"allowed: {', '.join(self.vocabulary.names)} and their usual spellings (happy, sad, …)"
