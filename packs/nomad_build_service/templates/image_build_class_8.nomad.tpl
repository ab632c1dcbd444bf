[[ template "further_class" (list . 7) ]]
